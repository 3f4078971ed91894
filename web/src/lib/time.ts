const DAY_MS = 86_400_000;

export type Group = "Pinned" | "Today" | "Yesterday" | "Previous 7 days" | "Last 30 days" | "Older";

/** Return how many calendar days of the reader lie between two moments. */
export function daysBetween(earlier: Date, later: Date): number {
  const [from, to] = [earlier, later].map((at) => Date.UTC(at.getFullYear(), at.getMonth(), at.getDate()));
  return Math.round(((to ?? 0) - (from ?? 0)) / DAY_MS);
}

/** Return under which heading of the drawer a session of that time stands. */
export function groupOf(modifiedAt: Date, now: Date): Group {
  const days = daysBetween(modifiedAt, now);
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days <= 7) return "Previous 7 days";
  if (days <= 30) return "Last 30 days";
  return "Older";
}

const SAME_DAY = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const ANY_DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

/** Return a moment as a reader would say it today. */
export function moment(at: string, now = new Date()): string {
  const date = new Date(at);
  return daysBetween(date, now) === 0 ? SAME_DAY.format(date) : ANY_DAY.format(date);
}

export function seconds(ms: number): string {
  return ms < 950 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
