import { useState } from "react";
import { tellError } from "@/ui/toasts";

const SHOWN_MS = 1_500;

/** Whether something was copied just now, and what copies a text. */
export function useCopied(): [boolean, (text: string) => void] {
  const [copied, setCopied] = useState(false);
  const copy = async (text: string) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      tellError("The browser does not let this page copy.");
      return;
    }
    setCopied(true);
    window.setTimeout(() => setCopied(false), SHOWN_MS);
  };
  return [copied, (text) => void copy(text)];
}
