import { Panel } from "@/ui/panel";

const KEYS: readonly [keys: string, does: string][] = [
  ["Enter", "Send"],
  ["Shift Enter", "New line"],
  ["Esc", "Stop the answer"],
  ["Ctrl K", "Search"],
  ["Ctrl Shift O", "New chat"],
  ["Ctrl B", "Show or hide the chats"],
  ["F2", "Rename the chat that has the focus"],
  ["Delete", "Delete it"],
  ["Shift click", "Choose several"],
  ["?", "This sheet"],
];

export function Help({ close }: { close: () => void }) {
  return (
    <Panel title="Keys" place="inset-x-4 top-[15vh] mx-auto max-w-sm rounded-2xl border" close={close}>
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1.5 p-4 text-sm">
        {KEYS.map(([keys, does]) => (
          <div key={keys} className="contents">
            <dt>{keys.split(" ").map((key) => <kbd key={key} className="me-1 rounded border border-line bg-side px-1.5 py-0.5 text-xs">{key}</kbd>)}</dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
    </Panel>
  );
}
