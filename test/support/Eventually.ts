/** Waiting for an outcome that nothing announces. */
const pause = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

/**
 * Asks again and again until the answer is `undefined`; anything else says what is still wrong, and is the error's message after the
 * deadline. An error of the question ends the wait.
 */
export const eventually = async (
  wrong: () => string | undefined | Promise<string | undefined>,
  millis = 30_000
): Promise<void> => {
  const deadline = performance.now() + millis
  for (;;) {
    const still = await wrong()
    if (still === undefined) return
    if (performance.now() > deadline) throw new Error(`after ${millis} ms ${still}`)
    await pause(20)
  }
}
