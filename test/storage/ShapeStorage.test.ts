/** The contract over both layers. What is LMDB's own is in `ShapeStorageLmdb.test.ts`. */
import { Effect, Layer } from "effect"
import * as ShapeStorageLmdb from "../../src/storage/ShapeStorageLmdb.ts"
import * as ShapeStorageMemory from "../../src/storage/ShapeStorageMemory.ts"
import * as FaultyStorage from "../support/FaultyStorage.ts"
import { shapeStorageContract } from "./ShapeStorageContract.ts"
import { temporaryDirectory } from "./temporaryDirectory.ts"

shapeStorageContract("LMDB", Effect.map(temporaryDirectory, (directory) => ShapeStorageLmdb.layer({ directory })))
shapeStorageContract("memory", Effect.sync(() => ShapeStorageMemory.layerFrom(ShapeStorageMemory.makeState())))
shapeStorageContract(
  "a wrapper without faults",
  Effect.sync(() => {
    const state = ShapeStorageMemory.makeState()
    return Layer.provide(FaultyStorage.layer, ShapeStorageMemory.layerFrom(state))
  })
)
