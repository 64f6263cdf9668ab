! SPDX-License-Identifier: Apache-2.0
!> A host that starts MPI itself, with the thread level of its second argument, and goes on with it after the coupler.
program mpi_host
   use, intrinsic :: iso_fortran_env, only: real64
   use mpi_f08, only: MPI_Allreduce, MPI_Comm, MPI_Comm_dup, MPI_Comm_get_errhandler, MPI_Comm_rank, MPI_COMM_WORLD, &
      MPI_Errhandler, MPI_ERRORS_ARE_FATAL, MPI_Finalize, MPI_Finalized, MPI_Init_thread, MPI_INTEGER, MPI_SUM, &
      MPI_THREAD_FUNNELED, MPI_THREAD_MULTIPLE, MPI_THREAD_SERIALIZED, MPI_THREAD_SINGLE, operator(==)
   use coupler_plugin, only: coupler_t
   use testing, only: argument, report
   implicit none
   type(coupler_t) :: coupler
   type(MPI_Comm) :: comm
   type(MPI_Errhandler) :: handler
   real(real64), target :: tas(2), lai(2) = -9.0_real64
   integer :: provided, rank, id(2), correct, all_correct, level
   logical :: ended

   select case (argument(2))
   case ('single')
      level = MPI_THREAD_SINGLE
   case ('funneled')
      level = MPI_THREAD_FUNNELED
   case ('serialized')
      level = MPI_THREAD_SERIALIZED
   case default
      level = MPI_THREAD_MULTIPLE
   end select
   call MPI_Init_thread(level, provided)
   call MPI_Comm_dup(MPI_COMM_WORLD, comm)
   call MPI_Comm_rank(comm, rank)

   id = [2*rank + 1, 2*rank + 2]
   tas = id
   call coupler%init(argument(1), comm=comm%mpi_val, start='2001-01-01', dt=3600.0d0)
   call coupler%set_cells(id, tas, tas)
   call coupler%bind('tas', tas)
   call coupler%bind('lai', lai)
   call coupler%step()
   call coupler%finalize()

   call MPI_Finalized(ended)
   call MPI_Comm_get_errhandler(MPI_COMM_WORLD, handler)
   correct = count(nint(lai) == 2*id + 1)
   call MPI_Allreduce(correct, all_correct, 1, MPI_INTEGER, MPI_SUM, comm)
   if (rank == 0) then
      call report('level', argument(2))
      call report('correct', all_correct)
      call report('mpi_ended', ended)
      call report('fatal_errors', handler == MPI_ERRORS_ARE_FATAL)
   end if
   call MPI_Finalize()
end program mpi_host
