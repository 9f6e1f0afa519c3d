import { conforms } from "./Conformance.ts"
import { section } from "./Section11.ts"

conforms(section)
