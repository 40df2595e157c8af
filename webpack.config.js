// Merged into the builder's configuration. BokehJS finds its style sheets by the names of its
// classes, so neither the minimizer nor the joining of modules may change them.
const {
  LightningCssMinimizerRspackPlugin,
  SwcJsMinimizerRspackPlugin
} = require('@rspack/core');

const keep = { keep_classnames: true, keep_fnames: true };

module.exports = {
  optimization: {
    concatenateModules: false,
    minimizer: [
      new SwcJsMinimizerRspackPlugin({
        minimizerOptions: { compress: keep, mangle: keep, format: { comments: false } }
      }),
      new LightningCssMinimizerRspackPlugin()
    ]
  },
  performance: { hints: false }
};
