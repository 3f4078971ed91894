import { useNavigate } from "@tanstack/react-router";
import { useEffect } from "react";
import { usePlace } from "@/app/place";
import { Composer } from "@/features/composer/composer";
import { newId } from "@/lib/ids";
import { ask } from "./live";

export function NewChat() {
  const { app } = usePlace();
  const navigate = useNavigate();
  useEffect(() => {
    document.title = "Chatkeep";
  }, []);
  return (
    <div className="flex min-h-0 flex-1 flex-col justify-center pb-[12vh] max-md:justify-end max-md:pb-0">
      <h1 className="mb-6 px-4 text-center text-2xl font-semibold text-balance">What shall we talk about?</h1>
      <Composer
        app={app}
        draft={`${app}/new`}
        busy={false}
        onSend={(message, choice) => {
          const session = newId();
          ask({ app, session, message, ...choice, after: 0 });
          void navigate({ to: "/$app/session/$session", params: { app, session } });
        }}
        onStop={() => undefined}
      />
    </div>
  );
}
