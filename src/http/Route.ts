/** Which resource a path names. */
export type Resource = "root" | "shape" | "health" | "openapi"

/** `undefined` when a segment is not valid percent-encoding. */
const segments = (path: string): ReadonlyArray<string> | undefined => {
  try {
    return path.split("/").filter((segment) => segment !== "").map(decodeURIComponent)
  } catch (error) {
    if (error instanceof URIError) return undefined
    throw error
  }
}

/**
 * The resource of a percent-encoded path, whatever aliases it is written with (`/v1//shape/`, `/v1/%73hape`);
 * `undefined` when there is none. Whoever guards a resource asks this, and nobody compares paths.
 */
export const match = (path: string): Resource | undefined => {
  if (path === "/v1/shape") return "shape"
  const names = segments(path)
  if (names === undefined) return undefined
  if (names.length === 0) return "root"
  if (names.length === 1 && names[0] === "openapi.json") return "openapi"
  if (names.length !== 2 || names[0] !== "v1") return undefined
  return names[1] === "shape" || names[1] === "health" ? names[1] : undefined
}
