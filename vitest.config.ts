import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/support/globalSetup.ts"],
    pool: "forks",
    // Two, on two cores as well: many tests mostly wait. Each has a Postgres of its own, unless one is given.
    maxWorkers: process.env.TEST_DATABASE_URL ? 1 : 2,
    minWorkers: 1,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 30_000
  }
})
