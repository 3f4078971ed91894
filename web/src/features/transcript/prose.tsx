import { lazy, Suspense } from "react";

interface Props {
  text: string;
  writing?: boolean;
}

function Plain({ text }: Props) {
  return <div dir="auto" className="prose-chat whitespace-pre-wrap">{text}</div>;
}

// Without the network, or after an upgrade of the service, the words stand there unformatted.
const Prose = lazy(() => import("./markdown").catch(() => ({ default: Plain })));

/** Formatted text; its plain form stands there until the formatting is loaded. */
export function Text(props: Props) {
  return <Suspense fallback={<Plain {...props} />}><Prose {...props} /></Suspense>;
}
