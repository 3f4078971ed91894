import createClient from "openapi-fetch";
import type { paths, Problem } from "./schema";

/** Where the service is: the page may be served under a path of a proxy's. */
export const BASE = new URL(".", document.baseURI);

export const api = createClient<paths>({ baseUrl: BASE.href.replace(/\/$/, "") });

/** For a small change that is shown before it is made: it is made although the page is closed meanwhile. */
export const OUTLIVES_THE_PAGE = { keepalive: true } as const;

/** What the service, or the way to it, refused. `status` 0: it could not be reached. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly runId: string = "",
  ) {
    super(message);
  }

  /** Whether the same request may succeed later. */
  get isTemporary(): boolean {
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

export function errorOf(status: number, problem: Partial<Problem> | undefined): ApiError {
  const said = problem?.detail ?? `the service answered ${status}`;
  return new ApiError(status, problem?.code ?? "error", said, problem?.run_id);
}

export function unreachable(): ApiError {
  return new ApiError(0, "offline", "the service cannot be reached");
}

/** Return the data of an answer. Throws ApiError. */
export async function told<T>(asked: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  let answer;
  try {
    answer = await asked;
  } catch {
    throw unreachable();
  }
  if (answer.error !== undefined || !answer.response.ok) {
    throw errorOf(answer.response.status, answer.error as Partial<Problem> | undefined);
  }
  return answer.data as T;
}

/** Return the URL of a path below `/v1/apps/{app}`. */
export function urlOf(app: string, path: string): string {
  return new URL(`v1/apps/${encodeURIComponent(app)}/${path}`, BASE).href;
}
