/** Jest runs what needs neither a browser nor JupyterLab: model, layout, transport, views as text. */
export default {
  roots: ['<rootDir>/tests/labextension/jest'],
  testEnvironment: 'node',
  testTimeout: 60_000, // a machine may be slow; what waits has a shorter deadline of its own
  testMatch: ['**/*.test.ts', '**/*.test.tsx'],
  modulePathIgnorePatterns: ['<rootDir>/labextension/fanlight_lab/labextension'],
  moduleNameMapper: { '^@fanlight/(.*)$': '<rootDir>/labextension/src/$1' },
  moduleDirectories: ['node_modules', '<rootDir>/node_modules'],
  transform: {
    '^.+\\.tsx?$': ['ts-jest', { tsconfig: '<rootDir>/tests/labextension/jest/tsconfig.json' }]
  }
};
