npx vitest run --config vitest.pure.config.ts "$@" 2>&1 | grep -v "^ ❯\|npm warn"
