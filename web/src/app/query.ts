import { QueryClient } from "@tanstack/react-query";
import { ApiError } from "@/api/client";

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 60_000,
      retry: (failures, error) => failures < 3 && error instanceof ApiError && error.isTemporary,
      refetchOnWindowFocus: false,
    },
  },
});
