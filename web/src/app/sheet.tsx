import * as Dialog from "@radix-ui/react-dialog";
import * as VisuallyHidden from "@radix-ui/react-visually-hidden";
import type { ReactNode } from "react";

/** The chats on a phone. */
export default function Sheet({ close, children }: { close: () => void; children: ReactNode }) {
  return (
    <Dialog.Root open onOpenChange={(open) => !open && close()}>
      <Dialog.Portal>
        <Dialog.Overlay className="overlay" />
        <Dialog.Content className="sheet inset-y-0 start-0 w-[min(20rem,88vw)] border-e bg-side" aria-describedby={undefined}>
          <VisuallyHidden.Root><Dialog.Title>Chats</Dialog.Title></VisuallyHidden.Root>
          <nav aria-label="Chats" className="flex min-h-0 flex-1 flex-col">{children}</nav>
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
