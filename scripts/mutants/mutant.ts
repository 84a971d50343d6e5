/**
 * What a mutant is: one guard taken out of the source by exchanging a text, and the test that must then fail.
 *
 * Rules of the tables: `find` stands in the file exactly once, so that a table that has fallen behind the source is noticed; the
 * result loads and runs, so that it is the missing guard that fails the test; the test is the fastest that knows of the guard.
 */

export type Mutant = {
  /** What the program does wrong now. Unique. */
  readonly name: string
  /** Below src/. */
  readonly file: string
  readonly find: string
  readonly replace: string
  /** Below test/, without `.test.ts`. */
  readonly test: string
  /** The start of the names of the tests that run; all of the file when absent. Letters and blanks only: it is an expression. */
  readonly only?: string
}

/** How the test ended: `passes` without the guard is what must not be. */
export type Verdict =
  | { readonly kind: 'fails'; readonly by: string }
  | { readonly kind: 'hangs' }
  | { readonly kind: 'passes' }
  | { readonly kind: 'broken'; readonly what: string }
