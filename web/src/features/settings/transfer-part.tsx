import { Download } from "lucide-react";
import { useState } from "react";
import type { ImportReport } from "@/api/schema";
import { queries } from "@/app/query";
import { tellError } from "@/ui/toasts";
import { Part } from "./part";
import { download, exportAll, type Exported, importFile } from "./transfer";

export function ExportPart({ app }: { app: string }) {
  const [sofar, setSofar] = useState<Exported | null>(null);
  const [busy, setBusy] = useState(false);
  const save = async () => {
    setBusy(true);
    setSofar(null);
    try {
      const { file, found } = await exportAll(app, setSofar);
      download(file, `chatkeep-${app}-${new Date().toISOString().slice(0, 10)}.jsonl`);
      setSofar(found);
    } catch (error) {
      setSofar(null);
      tellError(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Part title="Export">
      <p className="text-dim">Saves all of your chats with every branch, archived ones too, as a file that can be imported again. What is in the trash is left out.</p>
      <button type="button" className="button self-start" disabled={busy} onClick={() => void save()}><Download size={15} aria-hidden /> Export all chats</button>
      {busy && <progress className="w-full" aria-label="Exporting" />}
      {busy && sofar && <p>{countsOf(sofar)}…</p>}
      <div role="status">{!busy && sofar && <p>Saved: {countsOf(sofar)}.</p>}</div>
    </Part>
  );
}

function countsOf({ chats, messages, bytes }: Exported): string {
  return `${counted(chats, "chat")}, ${counted(messages, "message")}, ${sizeOf(bytes)}`;
}

function counted(count: number, noun: string): string {
  return `${count.toLocaleString()} ${noun}${count === 1 ? "" : "s"}`;
}

function sizeOf(bytes: number): string {
  return bytes < 1_000_000 ? `${Math.ceil(bytes / 1_000).toLocaleString()} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

export function ImportPart({ app }: { app: string }) {
  const [report, setReport] = useState<ImportReport | null>(null);
  const [part, setPart] = useState<number | null>(null);
  const take = async (chosen: File) => {
    let found: ImportReport | null = null;
    setPart(0);
    setReport(null);
    try {
      await importFile(app, chosen, (taken, sofar) => {
        setPart(taken);
        found = sofar;
      });
    } catch (error) {
      tellError(error);
    } finally {
      setPart(null);
      setReport(found); // once, at the end: a screen reader reads it out
      await queries.invalidateQueries();
    }
  };
  return (
    <Part title="Import">
      <p className="text-dim">Takes a file of JSON lines, as the export gives it. What is here already is not doubled.</p>
      <input
        type="file"
        accept=".jsonl,.ndjson,.json"
        aria-label="File to import"
        className="text-sm file:me-3 file:cursor-pointer file:rounded-lg file:border file:border-line file:bg-card file:px-3 file:py-1.5 file:text-sm file:font-medium file:text-text"
        disabled={part !== null}
        onChange={(event) => event.target.files?.[0] && void take(event.target.files[0])}
      />
      {part !== null && (
        <p className="flex items-center gap-3">
          <progress className="min-w-0 flex-1" aria-label="Importing" max={1} value={part} />
          <span className="tabular-nums">{Math.floor(100 * part)} %</span>
        </p>
      )}
      <div role="status">
        {report && (
          <p>
            {report.created.toLocaleString()} new, {report.continued.toLocaleString()} continued, {report.unchanged.toLocaleString()} unchanged,{" "}
            {(report.conflict + report.invalid).toLocaleString()} not taken; {report.messages.toLocaleString()} messages.
          </p>
        )}
        {report?.items.filter(({ reason }) => reason).slice(0, 5).map(({ session_id, reason }) => <p key={session_id} className="text-danger">{session_id}: {reason}</p>)}
      </div>
    </Part>
  );
}
