import { conforms } from "./Conformance.ts"
import { section } from "./Section06.ts"

conforms(section)
