import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";
import { BASE } from "@/api/client";
import { Shell } from "./shell";
import { NewChat } from "@/features/transcript/new-chat";
import { SessionPage } from "@/features/transcript/session-page";

function Broken({ error }: { error: unknown }) {
  return (
    <div className="m-auto max-w-md p-6 text-center">
      <h1 className="mb-2 text-lg font-semibold">The page made a mistake</h1>
      <p className="mb-4 text-dim">{error instanceof Error ? error.message : String(error)}. Your chats are not affected.</p>
      <button type="button" className="button" onClick={() => window.location.reload()}>Reload</button>
    </div>
  );
}

const root = createRootRoute({
  component: Shell,
  errorComponent: Broken,
  notFoundComponent: () => <p className="m-auto text-dim">There is no such page.</p>,
});

const home = createRoute({ getParentRoute: () => root, path: "/", component: NewChat });
const homeOfApp = createRoute({ getParentRoute: () => root, path: "/$app", component: NewChat });
const incognito = createRoute({
  getParentRoute: () => root,
  path: "/$app/incognito",
  component: lazyRouteComponent(() => import("@/features/transcript/incognito"), "Incognito"),
});
const session = createRoute({
  getParentRoute: () => root,
  path: "/$app/session/$session",
  component: SessionPage,
  validateSearch: (search: Record<string, unknown>): { at?: number } => {
    const at = Number(search.at);
    return Number.isSafeInteger(at) && at > 0 ? { at } : {};
  },
});

export const router = createRouter({
  defaultErrorComponent: Broken,
  routeTree: root.addChildren([home, homeOfApp, incognito, session]),
  basepath: BASE.pathname.replace(/\/$/, "") || "/",
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
