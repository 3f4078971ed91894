import { useParams } from "@tanstack/react-router";

export const DEFAULT_APP = "default";

/** The app whose chats are shown, and the one that is open. */
export function usePlace(): { app: string; session: string | null } {
  const params: { app?: string; session?: string } = useParams({ strict: false });
  return { app: params.app ?? DEFAULT_APP, session: params.session ?? null };
}
