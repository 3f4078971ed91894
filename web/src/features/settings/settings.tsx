import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useRef, useState } from "react";
import { api, errorOf, told, urlOf } from "@/api/client";
import type { ImportReport, Problem, Removed } from "@/api/schema";
import { queries } from "@/app/query";
import { type Preferences, preferences } from "@/lib/preferences";
import { useStore } from "@/lib/store";
import { Panel } from "@/ui/panel";
import { tellError } from "@/ui/toasts";
import { sentencesOf } from "./retention";

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
        <ImportPart app={app} />
        <ErasePart app={app} />
        <RetentionPart app={app} />
        <p className="text-dim">Keys: press <kbd className="rounded border border-line bg-side px-1.5 text-xs">?</kbd> outside of a field.</p>
      </div>
    </Panel>
  );
}

function Part({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section>
      <h3 className="mb-2 font-semibold">{title}</h3>
      <div className="flex flex-col gap-2">{children}</div>
    </section>
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

function ImportPart({ app }: { app: string }) {
  const file = useRef<HTMLInputElement>(null);
  const [report, setReport] = useState<ImportReport | null>(null);
  const [busy, setBusy] = useState(false);
  const take = async (chosen: File) => {
    setBusy(true);
    try {
      const response = await fetch(urlOf(app, "import"), { method: "POST", headers: { "Content-Type": "application/x-ndjson" }, body: chosen });
      if (!response.ok) throw errorOf(response.status, (await response.json()) as Problem);
      setReport((await response.json()) as ImportReport);
      await queries.invalidateQueries();
    } catch (error) {
      tellError(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Part title="Import">
      <p className="text-dim">Takes a file of JSON lines, as the export of a chat gives it. What is here already is not doubled.</p>
      <input
        ref={file}
        type="file"
        accept=".jsonl,.ndjson,.json"
        aria-label="File to import"
        className="text-sm file:me-3 file:cursor-pointer file:rounded-lg file:border file:border-line file:bg-card file:px-3 file:py-1.5 file:text-sm file:font-medium file:text-text"
        disabled={busy}
        onChange={(event) => event.target.files?.[0] && void take(event.target.files[0])}
      />
      <div role="status">
        {busy && <progress className="w-full" aria-label="Importing" />}
        {report && (
          <p>
            {report.created} new, {report.continued} continued, {report.unchanged} unchanged, {report.conflict + report.invalid} not taken; {report.messages.toLocaleString()} messages.
          </p>
        )}
        {report?.items.filter(({ reason }) => reason).slice(0, 5).map(({ session_id, reason }) => <p key={session_id} className="text-danger">{session_id}: {reason}</p>)}
      </div>
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
      for (const key of Object.keys(localStorage)) if (key.startsWith("chatkeep.draft.")) localStorage.removeItem(key);
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
