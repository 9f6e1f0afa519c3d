// The rooms of src/ and what each may import: data flows source → engine → storage, and out through ShapeEngine to http.
// Type imports count.

/** A room may import itself, the rooms given here, and packages. */
const rooms = {
  domain: [],
  where: ["domain"],
  source: ["domain"],
  storage: ["domain"],
  engine: ["domain", "where", "source", "storage"],
  client: ["domain"]
}

const forbidden = Object.entries(rooms).map(([room, allowed]) => ({
  name: `room-${room}`,
  comment: `src/${room} may import ${["itself", ...allowed.map((name) => `src/${name}`)].join(", ")} and packages`,
  severity: "error",
  from: { path: `^src/${room}/` },
  to: { path: "^(src|test|bench)/", pathNot: `^src/(${[room, ...allowed].join("|")})/` }
}))

/** @type {import("dependency-cruiser").IConfiguration} */
module.exports = {
  forbidden: [
    ...forbidden,
    {
      name: "room-http",
      comment: "src/http sees domain, and of the engine the ShapeEngine service alone",
      severity: "error",
      from: { path: "^src/http/" },
      to: { path: "^(src|test|bench)/", pathNot: "^src/((http|domain)/|engine/ShapeEngine\\.ts$)" }
    },
    {
      name: "room-ops",
      comment: "src/ops sees domain and the engine's services",
      severity: "error",
      from: { path: "^src/ops/" },
      to: { path: "^(src|test|bench)/", pathNot: "^src/(ops|domain|engine)/" }
    },
    {
      name: "domain-is-pure",
      comment: "src/domain imports nothing but effect",
      severity: "error",
      from: { path: "^src/domain/" },
      to: { dependencyTypesNot: ["local", "type-only"], pathNot: "(^|/)node_modules/effect/" }
    },
    {
      name: "top-files-only-from-top",
      comment: "only the top-level files of src/ and tests import the top-level files",
      severity: "error",
      from: { path: "^src/[^/]+/" },
      to: { path: "^src/[^/]+\\.ts$" }
    },
    {
      name: "no-circular",
      comment: "no import cycle, types included",
      severity: "error",
      from: {},
      to: { circular: true }
    },
    {
      name: "resolvable",
      comment: "every import can be resolved, and every package is in package.json",
      severity: "error",
      from: { path: "^src/" },
      to: { couldNotResolve: true }
    },
    {
      name: "no-dev-packages",
      comment: "src/ runs without development packages",
      severity: "error",
      from: { path: "^src/" },
      to: { dependencyTypes: ["npm-dev", "npm-no-pkg", "npm-unknown"], dependencyTypesNot: ["type-only"] }
    }
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    // Imports that only the type checker sees are imports all the same.
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "default", "types"] }
  }
}
