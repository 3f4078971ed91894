import { Store } from "@/lib/store";

export type Panel = "search" | "settings" | "help" | null;

/** The dialog that is open. */
export const panel = new Store<Panel>(null);
