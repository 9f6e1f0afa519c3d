import { conforms } from "./Conformance.ts"
import { section } from "./Section16.ts"

conforms(section)
