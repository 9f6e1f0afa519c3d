import { conforms } from "./Conformance.ts"
import { section } from "./Section10.ts"

conforms(section)
