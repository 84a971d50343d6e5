/**
 * All mutants, by what their guards protect. A new guard gets a line in one of these tables.
 */
import { ATTACK } from './attack.ts'
import { DESTINATION } from './destination.ts'
import { MESSAGE } from './message.ts'
import type { Mutant } from './mutant.ts'
import { OPERATION } from './operation.ts'
import { PLACEHOLDER } from './placeholder.ts'
import { RECORD } from './record.ts'
import { STORE } from './store.ts'

export const MUTANTS: readonly Mutant[] = [
  ...DESTINATION,
  ...MESSAGE,
  ...PLACEHOLDER,
  ...RECORD,
  ...STORE,
  ...OPERATION,
  ...ATTACK,
]
