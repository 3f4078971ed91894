import { Check, Copy } from "lucide-react";
import { memo, type ReactNode, useRef } from "react";
import Markdown from "react-markdown";
import rehypeHighlight from "rehype-highlight";
import remarkGfm from "remark-gfm";
import remarkMath from "remark-math";
import { useCopied } from "@/lib/copied";
import { blocksOf } from "./blocks";
import { Formula } from "./formula";
import { withDollars } from "./math";

const REMARK = [remarkGfm, [remarkMath, { singleDollarTextMath: false }]] as Parameters<typeof Markdown>[0]["remarkPlugins"];
const REHYPE = [[rehypeHighlight, { detect: false }]] as Parameters<typeof Markdown>[0]["rehypePlugins"];

const COMPONENTS: Parameters<typeof Markdown>[0]["components"] = {
  a: ({ href, children }) => (
    <a href={href} target="_blank" rel="noreferrer noopener">{children}</a>
  ),
  // An image of elsewhere would tell its server who reads this, and when.
  img: ({ src, alt }) => (
    <a href={typeof src === "string" ? src : undefined} target="_blank" rel="noreferrer noopener">{alt || "image"}</a>
  ),
  code: ({ className, children }) =>
    className?.includes("language-math") ? <Formula key={String(children)} tex={String(children)} isBlock={className.includes("math-display")} /> : <code className={className}>{children}</code>,
  pre: ({ children }) => (isFormula(children) ? children : <Code>{children}</Code>),
  table: ({ children }) => <div className="table"><table>{children}</table></div>,
};

const Block = memo(function Block({ text }: { text: string }) {
  return <Markdown remarkPlugins={REMARK ?? []} rehypePlugins={REHYPE ?? []} components={COMPONENTS}>{text}</Markdown>;
});

/** Markdown without HTML of its own. While it is written, only its last block is read anew. */
export default function Prose({ text, writing = false }: { text: string; writing?: boolean }) {
  const marked = withDollars(text);
  const blocks = writing ? blocksOf(marked) : [marked];
  return (
    <div dir="auto" className={`prose-chat ${writing ? "caret-host" : ""}`}>
      {blocks.map((block, at) => <Block key={at} text={block} />)}
    </div>
  );
}

function Code({ children }: { children?: ReactNode }) {
  const pre = useRef<HTMLPreElement>(null);
  const [copied, copy] = useCopied();
  const language = languageOf(children);
  return (
    <div className="code" dir="ltr">
      <div className="flex items-center border-b border-line ps-4 pe-1 text-xs text-dim">
        <span className="flex-1">{language}</span>
        <button type="button" className="icon-button h-8 w-auto gap-1 px-2" onClick={() => copy(pre.current?.textContent ?? "")}>
          {copied ? <Check size={14} aria-hidden /> : <Copy size={14} aria-hidden />} {copied ? "Copied" : "Copy"}
        </button>
      </div>
      <pre ref={pre} tabIndex={0} aria-label={language ? `Code, ${language}` : "Code"}>{children}</pre>
    </div>
  );
}

function languageOf(children: ReactNode): string {
  return /language-([\w+#-]+)/.exec(classOf(children))?.[1] ?? "";
}

function isFormula(children: ReactNode): boolean {
  return classOf(children).includes("math-display");
}

function classOf(children: ReactNode): string {
  const own = children as { props?: { className?: string } } | undefined;
  return own?.props?.className ?? "";
}
