import { conforms } from "./Conformance.ts"
import { section } from "./Section07.ts"

conforms(section)
