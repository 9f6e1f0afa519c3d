import { conforms } from "./Conformance.ts"
import { section } from "./Section12.ts"

conforms(section)
