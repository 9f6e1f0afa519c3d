import type { Bench } from "../support/Bench.ts"
import type { Report } from "../support/Report.ts"

export const run = (_: Bench): Promise<Report> => Promise.reject(new Error("not there yet"))
