! SPDX-License-Identifier: Apache-2.0
!> A host with trapping and rounding upwards in all its OpenMP threads, so many cells that an emulator shares these threads.
program openmp_team
   use, intrinsic :: ieee_arithmetic, only: ieee_get_rounding_mode, ieee_round_type, ieee_set_rounding_mode, ieee_up, &
      operator(==)
   use, intrinsic :: ieee_exceptions, only: ieee_get_halting_mode, ieee_invalid
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t
   use testing, only: argument, new_coupler, report
   implicit none
   integer, parameter :: n = 100000
   type(coupler_t) :: coupler
   real(real64), target :: tas(n), lai(n)
   real(real64) :: place(n)
   integer :: i

   call ieee_set_rounding_mode(ieee_up)
   if (argument(2) == 'threads_before') call report('before', all_as_set())
   tas = 0.1_real64
   place = 0.0_real64
   call new_coupler(coupler)
   call coupler%set_cells([(i, i=1, n)], place, place)
   call coupler%bind('tas', tas)
   call coupler%bind('lai', lai)
   call coupler%step()
   call report('after', all_as_set())
   call report('alike', all(abs(lai - lai(1)) <= 0.0_real64))
   call coupler%step()
   call report('after_two', all_as_set())
   call coupler%finalize()

contains

   logical function all_as_set()
      type(ieee_round_type) :: rounding
      logical :: halts

      all_as_set = .true.
      !$omp parallel private(rounding, halts) reduction(.and.: all_as_set)
      call ieee_get_rounding_mode(rounding)
      call ieee_get_halting_mode(ieee_invalid, halts)
      all_as_set = rounding == ieee_up .and. halts
      !$omp end parallel
   end function all_as_set

end program openmp_team
