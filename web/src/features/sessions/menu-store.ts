import type { Session } from "@/api/schema";
import { Store } from "@/lib/store";
import type { View } from "./data";

/** The menu that is open, of which row, and where. One menu serves all rows: there may be thousands. */
export interface RowMenuState {
  app: string;
  session: Session;
  view: View;
  x: number;
  y: number;
  page: { leave: () => void; rename: () => void; choose: () => void };
  back: () => void;
}

export const rowMenu = new Store<RowMenuState | null>(null);
