import type { ReactNode } from "react";

/** A part of the settings under its heading. */
export function Part({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section>
      <h3 className="mb-2 font-semibold">{title}</h3>
      <div className="flex flex-col gap-2">{children}</div>
    </section>
  );
}
