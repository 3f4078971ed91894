import * as Menu from "@radix-ui/react-dropdown-menu";
import { Archive, ArchiveRestore, CheckSquare, Download, Pencil, Pin, PinOff, RotateCcw, Trash2 } from "lucide-react";
import type { ReactNode } from "react";
import { urlOf } from "@/api/client";
import type { Session } from "@/api/schema";
import { archive, pin, purge, restore, trash, unarchive, type View } from "./data";
import type { RowMenuState } from "./menu-store";

interface Action {
  label: string;
  icon: ReactNode;
  run: () => void;
  danger?: boolean;
}

export default function RowMenu({ menu, close }: { menu: RowMenuState; close: () => void }) {
  const { app, session, view, x, y, page, back } = menu;
  return (
    <Menu.Root open modal={false} onOpenChange={(open) => !open && close()}>
      <Menu.Trigger asChild>
        <span aria-hidden className="fixed size-0" style={{ left: x, top: y }} />
      </Menu.Trigger>
      <Menu.Portal>
        <Menu.Content
          className="menu"
          align="start"
          aria-label={`Menu of ${session.title || "New chat"}`}
          onCloseAutoFocus={(event) => {
            event.preventDefault();
            if (document.activeElement === document.body) back();
          }}
        >
          {actionsOf(app, session, view, page).map(({ label, icon, run, danger }) => (
            <Menu.Item key={label} className={`menu-item ${danger ? "text-danger" : ""}`} onSelect={run}>{icon}{label}</Menu.Item>
          ))}
        </Menu.Content>
      </Menu.Portal>
    </Menu.Root>
  );
}

const SIZE = { size: 15, "aria-hidden": true } as const;

function actionsOf(
  app: string,
  session: Session,
  view: View,
  page: RowMenuState["page"],
): Action[] {
  const choose = { label: "Choose", icon: <CheckSquare {...SIZE} />, run: page.choose };
  if (view === "trashed") {
    return [
      { label: "Restore", icon: <RotateCcw {...SIZE} />, run: () => void restore(app, [session]) },
      choose,
      { label: "Delete for good", icon: <Trash2 {...SIZE} />, run: () => void purge(app, [session]), danger: true },
    ];
  }
  const isPinned = session.state === "pinned";
  return [
    ...(view === "live"
      ? [
          { label: isPinned ? "Unpin" : "Pin", icon: isPinned ? <PinOff {...SIZE} /> : <Pin {...SIZE} />, run: () => pin(app, session) },
          { label: "Rename", icon: <Pencil {...SIZE} />, run: page.rename },
          { label: "Archive", icon: <Archive {...SIZE} />, run: () => void archive(app, [session]).then(page.leave) },
        ]
      : [{ label: "Move back", icon: <ArchiveRestore {...SIZE} />, run: () => void unarchive(app, [session]) }]),
    { label: "Export as text", icon: <Download {...SIZE} />, run: () => save(app, session, "markdown") },
    { label: "Export as JSON lines", icon: <Download {...SIZE} />, run: () => save(app, session, "jsonl") },
    choose,
    { label: "Delete", icon: <Trash2 {...SIZE} />, run: () => void trash(app, [session]).then(page.leave), danger: true },
  ];
}

function save(app: string, session: Session, format: string): void {
  const link = document.createElement("a");
  link.href = urlOf(app, `sessions/${encodeURIComponent(session.id)}/export?format=${format}`);
  link.download = "";
  link.click();
}
