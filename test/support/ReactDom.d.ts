/** What of `react-dom` the tests call; the package comes without types. */
declare module "react-dom/client" {
  import type { ReactNode } from "react"

  export interface Root {
    readonly render: (node: ReactNode) => void
    readonly unmount: () => void
  }

  export const createRoot: (container: Element) => Root
}
