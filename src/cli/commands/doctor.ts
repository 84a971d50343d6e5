import type { AddCommands } from '../command.ts'
export const addDoctorCommand: AddCommands = () => undefined
