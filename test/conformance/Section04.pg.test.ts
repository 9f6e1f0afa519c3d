import { conforms } from "./Conformance.ts"
import { section } from "./Section04.ts"

conforms(section)
