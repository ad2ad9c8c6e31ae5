// The Studio is built into the Python package: fixed names, no hashes, so that the same sources give the same files.
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

const SERVER = "http://127.0.0.1:8000"; // `dodam serve`, while `npm run dev` shows the pages

export default defineConfig({
  base: "./", // pages lie one level deep, so that a proxy may serve them under any path
  plugins: [svelte()],
  build: {
    outDir: "../src/dodam/serve/static",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false, // its polyfill would be a script the pages do not need
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    rolldownOptions: {
      output: {
        entryFileNames: "assets/studio.js",
        assetFileNames: "assets/studio[extname]",
        codeSplitting: false,
      },
    },
  },
  server: { proxy: { "/v1": SERVER, "/api": SERVER } },
});
