import { conforms } from "./Conformance.ts"
import { section } from "./Section03.ts"

conforms(section)
