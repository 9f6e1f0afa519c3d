// Reports, never reformats: the `lint` run takes no `--fix`.
import dprint from "@effect/eslint-plugin/configs/dprint"
import tseslint from "typescript-eslint"

export default tseslint.config(
  { ignores: ["node_modules/**", "dist/**", ".shapelog/**", "bench/out/**"] },
  { files: ["**/*.ts"], extends: [tseslint.configs.base, ...dprint] },
  {
    files: ["**/*.ts"],
    rules: {
      "@effect/dprint": ["error", {
        config: {
          indentWidth: 2,
          lineWidth: 120,
          semiColons: "asi",
          quoteStyle: "alwaysDouble",
          trailingCommas: "never",
          operatorPosition: "maintain",
          "arrowFunction.useParentheses": "force"
        }
      }],
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/ban-ts-comment": "error",
      "@typescript-eslint/no-non-null-asserted-optional-chain": "error",
      "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "inline-type-imports" }],
      "no-restricted-syntax": ["error", {
        selector: "TSAsExpression > TSAsExpression[typeAnnotation.type='TSUnknownKeyword']",
        message: "`as unknown as` hides a type error: decode or narrow the value."
      }],
      "no-empty": "error",
      "no-fallthrough": "error",
      "no-unreachable": "error",
      "no-var": "error",
      "prefer-const": "error",
      eqeqeq: ["error", "always"]
    }
  },
  {
    files: ["src/**/*.ts"],
    ignores: ["src/main.ts", "src/ops/**"],
    rules: { "no-console": "error" }
  },
  {
    // Time and chance are services, so that the engine can run in a simulated world.
    files: ["src/{domain,where,source,storage,engine,http,client}/**/*.ts"],
    rules: {
      "no-restricted-properties": [
        "error",
        { object: "Date", property: "now", message: "Time is the Clock's." },
        { object: "Math", property: "random", message: "Chance is Random's." }
      ]
    }
  }
)
