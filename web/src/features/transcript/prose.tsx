import { lazy, Suspense } from "react";

const Prose = lazy(() => import("./markdown"));

/** Formatted text; its plain form stands there until the formatting is loaded. */
export function Text({ text, writing = false }: { text: string; writing?: boolean }) {
  const plain = <div dir="auto" className="prose-chat whitespace-pre-wrap">{text}</div>;
  return <Suspense fallback={plain}><Prose text={text} writing={writing} /></Suspense>;
}
