import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs/promises"
import { tmpdir } from "node:os"
import * as path from "node:path"

/** What the import check says of a project with the given files: the rules that are broken, by the file that breaks them. */
const violations = (files: Record<string, string>) =>
  Effect.acquireUseRelease(
    Effect.promise(async () => {
      const root = await fs.mkdtemp(path.join(tmpdir(), "shapelog-imports-"))
      for (const [name, text] of Object.entries(files)) {
        await fs.mkdir(path.join(root, path.dirname(name)), { recursive: true })
        await fs.writeFile(path.join(root, name), text)
      }
      for (const name of ["package.json", "tsconfig.json", ".dependency-cruiser.cjs"]) {
        await fs.cp(name, path.join(root, name))
      }
      await fs.symlink(path.resolve("node_modules"), path.join(root, "node_modules"))
      return root
    }),
    (root) =>
      Effect.sync(() => {
        const run = spawnSync(process.execPath, [
          path.resolve("node_modules/dependency-cruiser/bin/dependency-cruise.mjs"),
          "--config",
          ".dependency-cruiser.cjs",
          "src"
        ], { cwd: root, encoding: "utf8", env: { ...process.env, FORCE_COLOR: "0", NO_COLOR: "1" } })
        const found = [...run.stdout.matchAll(/error ([\w-]+): (\S+)/g)].map(([, rule, from]) => `${from} ${rule}`)
        assert.strictEqual(run.status, found.length, run.stdout + run.stderr)
        return found.sort()
      }),
    (root) => Effect.promise(() => fs.rm(root, { recursive: true }))
  )

const clean = {
  "src/domain/Lsn.ts":
    "import { Schema } from \"effect\"\nexport const Lsn = Schema.Number\nexport type Lsn = number\n",
  "src/source/Catalog.ts":
    "import type { Lsn } from \"../domain/Lsn.ts\"\nimport pg from \"pg\"\nexport const a: [Lsn, unknown] = [1, pg]\n",
  "src/storage/ShapeStorage.ts": "export interface Storage { readonly a: 1 }\n",
  "src/engine/ShapeEngine.ts":
    "import type { Storage } from \"../storage/ShapeStorage.ts\"\nexport type Engine = Storage\n",
  "src/http/Routes.ts": "import type { Engine } from \"../engine/ShapeEngine.ts\"\nexport type Routes = Engine\n",
  "src/main.ts": "import type { Routes } from \"./http/Routes.ts\"\nexport type Main = Routes\n"
}

describe("The import table", () => {
  it.live("lets a project pass that keeps to it", () =>
    Effect.map(violations(clean), (found) => assert.deepStrictEqual(found, [])))

  it.live("fails for forbidden imports, type imports among them, and for cycles", () =>
    Effect.map(
      violations({
        ...clean,
        "src/http/Bad.ts": "import type { Storage } from \"../storage/ShapeStorage.ts\"\nexport type Bad = Storage\n",
        "src/domain/Bad.ts": "import * as fs from \"node:fs\"\nexport const bad = fs\n",
        "src/source/Bad.ts": "import { describe } from \"vitest\"\nexport const bad = describe\n",
        "src/storage/Bad.ts": "import type { Engine } from \"../engine/ShapeEngine.ts\"\nexport type Bad = Engine\n",
        "src/engine/A.ts": "import type { B } from \"./B.ts\"\nexport type A = B | 1\n",
        "src/engine/B.ts": "import type { A } from \"./A.ts\"\nexport type B = A | 2\n",
        "src/engine/Top.ts": "import type { Main } from \"../main.ts\"\nexport type Top = Main\n",
        "src/engine/Lost.ts": "import { lost } from \"./nowhere.ts\"\nexport const found = lost\n"
      }),
      (found) =>
        assert.deepStrictEqual(found, [
          "src/domain/Bad.ts domain-is-pure",
          "src/engine/A.ts no-circular",
          "src/engine/Lost.ts resolvable",
          "src/engine/Top.ts room-engine",
          "src/engine/Top.ts top-files-only-from-top",
          "src/http/Bad.ts room-http",
          "src/source/Bad.ts no-dev-packages",
          "src/storage/Bad.ts room-storage"
        ])
    ))
})
