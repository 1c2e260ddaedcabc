import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

const at = (path) => fileURLToPath(new URL(path, import.meta.url))

// Names carry no hash and nothing depends on the folder: two builds are the same bytes, and dist is committed.
export default defineConfig({
  root: at('.'),
  resolve: { alias: { '@parley-chat/client': at('../../sdk/ts/src/index.ts') } },
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    cssTarget: ['chrome123', 'firefox121', 'safari17.5'], // light-dark() and :dir() as they are
    outDir: 'dist',
    assetsInlineLimit: 0,
    modulePreload: false,
    cssCodeSplit: false,
    rollupOptions: {
      input: { app: at('index.html'), sw: at('src/sw.ts') },
      output: { entryFileNames: '[name].js', chunkFileNames: '[name].js', assetFileNames: (asset) => asset.names?.[0]?.endsWith('.css') ? 'app.css' : '[name][extname]' },
    },
  },
})
