import { conforms } from "./Conformance.ts"
import { section } from "./Section09.ts"

conforms(section)
