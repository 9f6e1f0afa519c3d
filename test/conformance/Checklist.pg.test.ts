import { section } from "./Checklist.ts"
import { conforms } from "./Conformance.ts"

conforms(section)
