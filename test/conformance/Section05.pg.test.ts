import { conforms } from "./Conformance.ts"
import { section } from "./Section05.ts"

conforms(section)
