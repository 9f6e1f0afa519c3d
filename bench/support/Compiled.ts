/**
 * The sources as plain JavaScript, so that the server runs without the compiler that tsx keeps in its process.
 */
import * as fs from "node:fs"
import * as path from "node:path"
import ts from "typescript"

const compilerOptions: ts.CompilerOptions = {
  module: ts.ModuleKind.ESNext,
  target: ts.ScriptTarget.ES2023,
  verbatimModuleSyntax: true,
  rewriteRelativeImportExtensions: true
}

/** Compiles `folders` of the repository into `out`, file by file. */
export const compile = (root: string, folders: ReadonlyArray<string>, out: string): void => {
  fs.rmSync(out, { recursive: true, force: true })
  for (const folder of folders) {
    for (const name of fs.readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })) {
      if (!name.endsWith(".ts") || name.endsWith(".d.ts")) continue
      const source = path.join(root, folder, name)
      const target = path.join(out, folder, name.replace(/\.ts$/, ".js"))
      fs.mkdirSync(path.dirname(target), { recursive: true })
      fs.writeFileSync(
        target,
        ts.transpileModule(fs.readFileSync(source, "utf8"), { compilerOptions, fileName: source }).outputText
      )
    }
  }
}
