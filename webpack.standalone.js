// Builds the panel as scripts that need no JupyterLab: for `fanlight.panel()`, for pages exported
// from recordings, and for tests in a bare browser. Run by hatch_build.py, after `build:lib`;
// `--minimize` makes it small, slowly.
//
// fanlight.js has everything but what is loaded on demand, BokehJS above all: that is charts.js,
// one script again, which labextension/src/standalone/charts.ts fetches when it is asked for.
const path = require('path');
const { LicenseWebpackPlugin } = require('license-webpack-plugin');
const { optimize, rspack } = require('@rspack/core');
const { optimization } = require('./webpack.config.js');

const root = path.join(__dirname, 'labextension');
const minimized = process.argv.includes('--minimize')
  ? optimization
  : { minimize: false, concatenateModules: false };

const compiler = rspack({
  mode: 'production',
  target: ['web', 'es2020'],
  devtool: false,
  entry: {
    fanlight: [path.join(root, 'lib/standalone/index.js'), path.join(root, 'style/index.css')]
  },
  output: {
    path: path.join(root, 'fanlight_lab/standalone'),
    filename: '[name].js',
    chunkFilename: 'charts.js',
    cssFilename: '[name].css',
    cssChunkFilename: 'charts.css',
    clean: true,
    // Not the name of the JupyterLab extension: both may be in one page.
    uniqueName: 'fanlight-standalone',
    globalObject: 'globalThis',
    // It may be run from a blob, or stand in a page: it has no address to load anything from.
    publicPath: ''
  },
  module: { rules: [{ test: /\.css$/, type: 'css' }] },
  optimization: { ...minimized, splitChunks: false },
  plugins: [
    new optimize.LimitChunkCountPlugin({ maxChunks: 2 }),
    new LicenseWebpackPlugin({
      outputFilename: 'third-party-licenses.txt',
      perChunkOutput: false,
      stats: { warnings: false, errors: true }
    })
  ],
  performance: { hints: false }
});

compiler.run((error, stats) => {
  if (error || stats.hasErrors()) {
    console.error(error ?? stats.toString({ preset: 'errors-warnings' }));
    process.exitCode = 1;
  } else {
    console.log(stats.toString({ preset: 'summary' }));
  }
  compiler.close(() => undefined);
});
