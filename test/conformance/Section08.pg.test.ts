import { conforms } from "./Conformance.ts"
import { section } from "./Section08.ts"

conforms(section)
