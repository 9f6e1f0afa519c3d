/** Tables that rows only read. */

export const ITEMS = `
  CREATE TABLE items (id int PRIMARY KEY, title text NOT NULL, n int, done bool);
  INSERT INTO items VALUES (1, 'one', 10, true), (2, 'two', NULL, false), (3, 'three', 30, NULL);`

/** The values of `items`, as they are sent. */
export const itemsValues = [
  { id: "1", title: "one", n: "10", done: "t" },
  { id: "2", title: "two", n: null, done: "f" },
  { id: "3", title: "three", n: "30", done: null }
]

export const itemsSchema = JSON.stringify({
  id: { type: "int4", not_null: true, pk_index: 0 },
  title: { type: "text", not_null: true },
  n: { type: "int4" },
  done: { type: "bool" }
})

/** Rows enough for several chunks of 1000 bytes. */
export const MANY = `
  CREATE TABLE many (id int PRIMARY KEY, title text);
  INSERT INTO many SELECT i, repeat('x', 100) FROM generate_series(1, 40) i;`
