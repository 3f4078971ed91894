import { useEffect, useRef } from "react";

/**
 * A formula as MathML, which browsers and screen readers read by themselves; its source, until that is there.
 * Needs the source as its key: what stands in the page is not React's any more.
 */
export function Formula({ tex, isBlock }: { tex: string; isBlock: boolean }) {
  const host = useRef<HTMLSpanElement>(null);
  useEffect(() => {
    let isWanted = true;
    import("katex")
      .then(({ default: katex }) => {
        if (!isWanted || !host.current) return;
        const formula = document.createElement("span");
        katex.render(tex, formula, { displayMode: isBlock, output: "mathml", strict: "ignore", maxSize: 40, maxExpand: 500 });
        host.current.replaceChildren(formula);
      })
      // A half-written or wrong formula, or no network: the source stays.
      .catch(() => undefined);
    return () => {
      isWanted = false;
    };
  }, [tex, isBlock]);
  return <span ref={host} dir="ltr" className={isBlock ? "formula" : undefined}>{tex}</span>;
}
