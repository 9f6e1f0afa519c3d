import { conforms } from "./Conformance.ts"
import { section } from "./Section13.ts"

conforms(section)
