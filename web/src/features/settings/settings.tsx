import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, told } from "@/api/client";
import type { Removed } from "@/api/schema";
import { queries } from "@/app/query";
import { dismissAll } from "@/features/transcript/live";
import { type Preferences, preferences } from "@/lib/preferences";
import { useStore } from "@/lib/store";
import { Panel } from "@/ui/panel";
import { tellError } from "@/ui/toasts";
import { Part } from "./part";
import { sentencesOf } from "./retention";
import { ExportPart, ImportPart } from "./transfer-part";

const WORD = "delete";

export function Settings({ app, close }: { app: string; close: () => void }) {
  const now = useStore(preferences, (value) => value);
  const set = (change: Partial<Preferences>) => preferences.change((value) => ({ ...value, ...change }));
  return (
    <Panel title="Settings" place="inset-x-4 top-[6vh] mx-auto max-h-[88vh] max-w-lg rounded-2xl border" close={close}>
      <div className="flex min-h-0 flex-col gap-6 overflow-y-auto p-4 text-sm">
        <Part title="Look">
          <Choice label="Theme" value={now.theme} options={{ system: "As the system", light: "Light", dark: "Dark" }} onChange={(theme) => set({ theme })} />
          <Choice label="Density" value={now.density} options={{ comfortable: "Comfortable", compact: "Compact" }} onChange={(density) => set({ density })} />
        </Part>
        <ModelPart app={app} />
        <ExportPart app={app} />
        <ImportPart app={app} />
        <ErasePart app={app} />
        <RetentionPart app={app} />
        <p className="text-dim">Keys: press <kbd className="rounded border border-line bg-side px-1.5 text-xs">?</kbd> outside of a field.</p>
      </div>
    </Panel>
  );
}

function Choice<T extends string>({ label, value, options, onChange }: { label: string; value: T; options: Record<T, string>; onChange: (value: T) => void }) {
  return (
    <label className="flex items-center gap-3">
      <span className="flex-1">{label}</span>
      <select className="field" value={value} onChange={(event) => onChange(event.target.value as T)}>
        {Object.entries<string>(options).map(([key, words]) => <option key={key} value={key}>{words}</option>)}
      </select>
    </label>
  );
}

function ModelPart({ app }: { app: string }) {
  const chosen = useStore(preferences, (now) => now.model);
  const { data } = useQuery({
    queryKey: ["models", app],
    queryFn: () => told(api.GET("/v1/apps/{app}/models", { params: { path: { app } } })),
    staleTime: Infinity,
  });
  const names = data?.items ?? [];
  return (
    <Part title="Model">
      <Choice
        label="Answers come from"
        value={chosen ?? ""}
        options={Object.fromEntries(names.map(({ name, default: isDefault }) => [isDefault ? "" : name, name]))}
        onChange={(model) => preferences.change((now) => ({ ...now, model: model || null }))}
      />
    </Part>
  );
}

function RetentionPart({ app }: { app: string }) {
  const { data } = useQuery({
    queryKey: ["retention", app],
    queryFn: () => told(api.GET("/v1/apps/{app}/retention", { params: { path: { app } } })),
  });
  return (
    <Part title="What is kept">
      {data && sentencesOf(data).map((sentence) => <p key={sentence} className="text-dim">{sentence}</p>)}
    </Part>
  );
}

function ErasePart({ app }: { app: string }) {
  const [typed, setTyped] = useState("");
  const [receipt, setReceipt] = useState<Removed | null>(null);
  const erase = async () => {
    try {
      setReceipt(await told(api.DELETE("/v1/apps/{app}/me", { params: { path: { app } } })));
      setTyped("");
      for (const key of Object.keys(localStorage)) if (key.startsWith(`chatkeep.draft.${app}/`)) localStorage.removeItem(key);
      dismissAll(app);
      await queries.resetQueries();
    } catch (error) {
      tellError(error);
    }
  };
  return (
    <Part title="Delete everything">
      <p className="text-dim">Removes all of your chats here for good: messages, summaries, what was searched for. There is no way back.</p>
      <form
        className="flex gap-2"
        onSubmit={(event) => {
          event.preventDefault();
          if (typed === WORD) void erase();
        }}
      >
        <input className="field min-w-0 flex-1" aria-label={`Type ${WORD} to go on`} placeholder={`Type ${WORD} to go on`} value={typed} onChange={(event) => setTyped(event.target.value)} />
        <button type="submit" className="button button-danger" disabled={typed !== WORD}>Delete everything</button>
      </form>
      <div role="status">
        {receipt && (
          <p>
            Removed: {Object.entries(receipt.removed).map(([kind, count]) => `${count.toLocaleString()} ${kind.replaceAll("_", " ")}`).join(", ") || "nothing was left"}.
          </p>
        )}
      </div>
    </Part>
  );
}
